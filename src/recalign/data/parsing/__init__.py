"""What the readers share: files, lines, fields, the accounts of both, and the way to one table."""
