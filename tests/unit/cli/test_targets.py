"""How a command line names stores and objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobkit.cli.targets import Target, several_targets, store_and_prefix, store_word, take_target
from blobkit.errors import InvalidArgument


def test_a_name_and_a_key_are_one_word() -> None:
    assert take_target(["media:a/b.txt", "rest"]) == (Target("media", "a/b.txt"), ["rest"])


def test_a_url_and_a_key_are_two_words() -> None:
    assert take_target(["s3://media/prod/?region=x", "a", "rest"]) == (
        Target("s3://media/prod/?region=x", "a"),
        ["rest"],
    )


def test_a_key_may_look_like_anything_after_a_url() -> None:
    assert take_target(["local:///d", "s3://x"])[0].key == "s3://x"
    assert take_target(["local:///d", "media:a"])[0].key == "media:a"


def test_a_key_of_a_named_store_may_hold_colons_and_urls() -> None:
    assert take_target(["media:http://x/y:z"])[0] == Target("media", "http://x/y:z")


@given(st.text(min_size=1))
def test_every_key_can_be_named_both_ways(key: str) -> None:
    assert take_target(["local:///d", key])[0].key == key
    if not key.startswith("//"):  # with a name before it, that is a URL
        assert take_target([f"media:{key}"])[0] == Target("media", key)


@pytest.mark.parametrize("words", [[], ["media"], ["media:"], ["local:///d"], [":a"], ["./file"], ["C\\a:b"]])
def test_what_is_no_target_is_refused_with_the_grammar_as_hint(words: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        take_target(words)
    assert "STORE-URL KEY" in str(caught.value.hint)


def test_several_targets_may_mix_both_forms() -> None:
    found = several_targets(["media:a", "local:///d", "b", "other:c"])
    assert found == [Target("media", "a"), Target("local:///d", "b"), Target("other", "c")]


def test_too_many_and_too_few_words_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="one word too many: 'x'"):
        several_targets(["media:a", "x"], exactly=1)
    with pytest.raises(InvalidArgument, match="a target is missing"):
        several_targets(["media:a"], exactly=2)


def test_a_missing_key_gets_the_name_of_the_file() -> None:
    assert Target("media", "").named("a.txt").key == "a.txt"
    assert Target("media", "x/").named("a.txt").key == "x/a.txt"
    assert Target("media", "x").named("a.txt").key == "x"
    with pytest.raises(InvalidArgument):
        Target("media", "x/").named("")


def test_a_store_is_a_name_or_a_url() -> None:
    assert store_word("media") == store_word("media:") == "media"
    assert store_word("local:///d") == "local:///d"
    with pytest.raises(InvalidArgument):
        store_word("../media")


def test_a_prefix_follows_a_store() -> None:
    assert store_and_prefix(["media"]) == ("media", "")
    assert store_and_prefix(["media:a/b"]) == ("media", "a/b")
    assert store_and_prefix(["local:///d"]) == ("local:///d", "")
    assert store_and_prefix(["local:///d", "a:b"]) == ("local:///d", "a:b")
    with pytest.raises(InvalidArgument):
        store_and_prefix(["local:///d", "a", "b"])
