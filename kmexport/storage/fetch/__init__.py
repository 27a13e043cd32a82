"""Files of a storage fetched ahead of the reader; nothing else uses asyncio."""
