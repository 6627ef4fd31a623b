"""A transfer is measured where it arrives."""

from wgpy.io.transfers import transfer


def test_a_transfer_over_the_loopback_has_a_rate():
    assert transfer(None, None, "127.0.0.1", 0.05) > 1e6
