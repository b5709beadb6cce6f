"""What commands print: text safe for terminals, tables, columns, paths into documents."""
