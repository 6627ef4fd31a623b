"""The numbers of the protocol (paper 6.1), spelled as in the paper; then those of this node."""

from typing import Final

# --- the paper's; seconds and messages ---
REKEY_AFTER_MESSAGES: Final = 2**60
# The kernel's value: the usable replay window of 8128 below 2^64, and one.
REJECT_AFTER_MESSAGES: Final = 2**64 - 1 - 8128 - 1
REKEY_AFTER_TIME: Final = 120.0
REJECT_AFTER_TIME: Final = 180.0
REKEY_ATTEMPT_TIME: Final = 90.0
REKEY_TIMEOUT: Final = 5.0
KEEPALIVE_TIMEOUT: Final = 10.0

# --- the kernel's ---
REKEY_TIMEOUT_JITTER: Final = 1 / 3
MAX_TIMER_HANDSHAKES: Final = int(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT)
INITIATIONS_PER_SECOND: Final = 50
COOKIE_SECRET_MAX_AGE: Final = 120.0
COOKIE_SECRET_LATENCY: Final = 5.0
REPLAY_WINDOW: Final = 8128
PADDING_MULTIPLE: Final = 16
MAX_STAGED_PACKETS: Final = 128
MAX_PEERS: Final = 2**20
MAX_PERSISTENT_KEEPALIVE: Final = 2**16 - 1
MAX_PORT: Final = 2**16 - 1
MAX_FWMARK: Final = 2**32 - 1
UNDER_LOAD_HYSTERESIS: Final = 1.0
RATELIMIT_PER_SECOND: Final = 20
RATELIMIT_BURST: Final = 5
# AF41 in the upper six bits: what handshake messages carry.
HANDSHAKE_TOS: Final = 0x88

# --- this node's ---
# An initiation and its answer cost about 0.3 ms of one core here; as many as below are taken in
# a turn. A full queue is worked off in 0.64 s, long before who waits in it tries again.
MAX_QUEUED_HANDSHAKES: Final = 512
UNDER_LOAD_QUEUE: Final = 64
# At most so many handshakes in so many seconds: the rest of the time is for data.
HANDSHAKES_PER_WAKE: Final = 4
BACKLOG_DELAY: Final = 0.005
MAX_RATELIMIT_ENTRIES: Final = 16384
MAX_FOREIGN: Final = 256
# Handshake messages that one neighbour may hand over in a second as a relay: whose they are is
# only its word, so sources alone would be no limit. As many take 2 % of the time of a core.
HANDSHAKES_THROUGH_RELAY: Final = 64
# When to tell that initiations have no answer: at the third retransmission (15 s, less what
# rounding takes), then at most this often, and ever more rarely. After a pause it is told anew.
UNANSWERED_AFTER: Final = 14.5
UNANSWERED_INTERVAL: Final = 90.0
UNANSWERED_PAUSE: Final = 30.0
# Rejected messages of one kind that are told in a second; all are counted.
REJECTIONS_PER_SECOND: Final = 4
