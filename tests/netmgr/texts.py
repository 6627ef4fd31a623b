"""Files of both kinds: those that the ancestor's users have, and what goes into them."""

from base64 import b64encode

KEY = b64encode(bytes(range(32))).decode()

# A server with a fixed address and one with a dynamic name; host bits in the subnet.
TWO_SERVERS = f"""\
network:
  sharedKey: {KEY}
  subnet: 10.1.1.0/8

peers:
    - endPoint: 192.0.2.7:55551
      adminPort: 55550
      wgIp: 10.1.1.1
    - endPoint: "home.dyn.example.org:55553"
      adminPort: 55552
      wgIp: 10.1.1.2
"""

# Alice is reached by address on a bridge; bob and charlie have no entry.
THREE_BOXES = f"""\
network:
    sharedKey: "{KEY}"
    subnet: 10.1.1.0/24
peers:
    - {{endPoint: "10.128.1.1:50001", adminPort: 50501, wgIp: 10.1.1.1}}
"""

PEER = """\
name: Bob
wgIp: 10.1.1.2
wgInterface: wg0
existingInterface: false
"""
