"""The world: disk, names, the local network, the host, the local API."""
