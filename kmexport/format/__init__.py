"""How one record is spelt: text of a hash → head or properties, and the repair of octal escapes."""
