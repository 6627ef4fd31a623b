"""World: sockets, interfaces, files, clocks."""
