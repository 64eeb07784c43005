"""One reader per dataset format; every input line is parsed or rejected with a reason."""
