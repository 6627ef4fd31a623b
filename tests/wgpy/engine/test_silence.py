from wgpy.engine.silence import Silence


def told(silence: Silence, times: list[float]) -> list[tuple[float, float]]:
    """Return when it was told, and what."""
    answers = [(at, silence.initiated(at)) for at in times]
    return [(at, seconds) for at, seconds in answers if seconds is not None]


def test_the_third_retransmission_is_told_then_ever_more_rarely():
    silence = Silence()
    times = [100.0 + 5.0 * number for number in range(200)]
    assert told(silence, times) == [
        (115.0, 15.0),
        (205.0, 105.0),
        (310.0, 210.0),
        (520.0, 420.0),
        (940.0, 840.0),
    ]
    assert silence.attempts == 200


def test_times_a_little_too_short_by_rounding_are_told():
    assert told(Silence(), [0.1, 5.1, 10.1, 15.099999]) == [(15.099999, 15.099999 - 0.1)]


def test_an_answer_begins_anew():
    silence = Silence()
    assert told(silence, [0.0, 5.0, 10.0]) == []
    silence.broken()
    assert silence.attempts == 0
    assert told(silence, [15.0, 20.0, 25.0]) == []
    assert told(silence, [30.0]) == [(30.0, 15.0)]


def test_a_pause_is_no_silence_of_the_peer():
    silence = Silence()
    assert told(silence, [0.0, 5.0, 10.0, 3000.0, 3005.0, 3010.0]) == []
    assert silence.attempts == 3
    assert told(silence, [3015.0]) == [(3015.0, 15.0)]
