"""The text of one record: a JSON object → head or properties, its repair, and the way back."""
