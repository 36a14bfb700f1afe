from mlg.mesh.ads import CLUSTERS, ENDPOINTS, ROUTES, Asked, Stream, asked, due, version_of

WORLD = {
    CLUSTERS: {"a": {"name": "a"}},
    ENDPOINTS: {"a": {"cluster_name": "a"}, "b": {"cluster_name": "b"}},
    ROUTES: {"viewers": {"name": "viewers"}},
}


def ask(stream: Stream, kind: str, *names: str, nonce: str = "") -> Stream:
    return asked(stream, Asked(kind=kind, names=names, nonce=nonce))


def test_nothing_is_sent_before_it_was_asked_for() -> None:
    stream, messages = due(Stream(), WORLD)
    assert messages == ()
    stream, (first,) = due(ask(stream, ROUTES, "viewers"), WORLD)
    assert (first.kind, first.resources) == (ROUTES, ({"name": "viewers"},))


def test_a_server_that_knows_nothing_yet_says_nothing() -> None:
    # an empty list of clusters would be taken for the truth, and end every service
    _, messages = due(ask(Stream(), CLUSTERS), {})
    assert messages == ()
    _, (told,) = due(ask(Stream(), CLUSTERS), {CLUSTERS: {}})
    assert told.resources == ()


def test_what_was_sent_is_sent_again_only_when_it_changed() -> None:
    stream, (first,) = due(ask(Stream(), CLUSTERS), WORLD)
    stream = ask(stream, CLUSTERS, nonce=first.nonce)
    stream, messages = due(stream, WORLD)
    assert messages == ()
    more = {**WORLD, CLUSTERS: {"a": {"name": "a"}, "b": {"name": "b"}}}
    stream, (second,) = due(stream, more)
    assert [r["name"] for r in second.resources] == ["a", "b"]
    assert second.version == version_of(more[CLUSTERS]) != first.version
    assert second.nonce != first.nonce
    # a refusal is an answer like any other: the same is not sent again
    assert due(ask(stream, CLUSTERS, nonce=second.nonce), more)[1] == ()


def test_endpoints_are_those_asked_for_and_come_again_after_the_clusters_changed() -> None:
    stream = ask(ask(Stream(), CLUSTERS), ENDPOINTS, "a")
    stream, (clusters, endpoints) = due(stream, WORLD)
    assert (clusters.kind, endpoints.kind) == (CLUSTERS, ENDPOINTS)
    assert endpoints.resources == ({"cluster_name": "a"},)
    stream, (grown,) = due(ask(stream, ENDPOINTS, "a", "b", nonce=endpoints.nonce), WORLD)
    assert len(grown.resources) == 2
    changed = {**WORLD, CLUSTERS: {"a": {"name": "a", "lb_policy": "RANDOM"}}}
    _, messages = due(stream, changed)
    assert [m.kind for m in messages] == [CLUSTERS, ENDPOINTS]


def test_an_answer_to_an_older_message_changes_nothing() -> None:
    stream, (first,) = due(ask(Stream(), ENDPOINTS, "a"), WORLD)
    other = {**WORLD, ENDPOINTS: {"a": {"cluster_name": "a", "endpoints": []}}}
    stream, _ = due(stream, other)
    assert ask(stream, ENDPOINTS, "b", nonce=first.nonce) == stream
    assert ask(stream, "type.googleapis.com/other") == stream
