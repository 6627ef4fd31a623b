import sys

from netmgr.cli import main

sys.exit(main())
