"""JSON shapes: what comes in is checked here or by the library's own types, what goes out is documented here."""
