"""Every check of the toy storage, and the test of the suite that must fail when it is taken away.

``python -m tests.unit.testing.mutants`` runs each of these tests against each crippled storage and writes JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final, NamedTuple

from blobkit.testing import run, suite

from .toy import Manner, ToyHarness


class Mutant(NamedTuple):
    without: str
    caught_by: str
    manner: Manner = "parts"


MUTANTS: Final = (
    # what a server checks of a signed request
    Mutant("signature", "test_one_bit_of_the_signature_changed_is_refused"),
    Mutant("signature", "test_a_signature_made_with_other_keys_is_refused"),
    Mutant("expiry", "test_a_request_that_expired_a_minute_ago_is_refused"),
    Mutant("method", "test_a_url_signed_for_one_method_is_refused_for_another"),
    Mutant("head", "test_a_url_signed_for_get_is_refused_for_head_and_the_other_way_round"),
    Mutant("key", "test_a_signature_made_for_another_key_is_refused"),
    Mutant("chunk_number", "test_a_chunk_url_is_refused_for_another_chunk"),
    Mutant("signed_headers", "test_every_listed_header_and_field_is_needed"),
    Mutant("unsigned_headers", "test_a_header_of_the_provider_that_was_not_signed_is_refused"),
    Mutant("form_signature", "test_one_bit_of_the_signature_changed_is_refused"),
    Mutant("form_expiry", "test_a_request_that_expired_a_minute_ago_is_refused"),
    Mutant("form_fields", "test_every_listed_header_and_field_is_needed"),
    Mutant("form_fields", "test_a_signature_made_for_another_key_is_refused"),
    # constraints
    *(Mutant(name, "test_a_constraint_is_enforced_or_refused_to_be_signed") for name in (
        "size", "content_type", "checksum", "metadata", "if_absent", "cache_control", "content_disposition",
        "content_encoding", "storage_class", "form_size_range",
    )),
    Mutant("size_range", "test_a_constraint_is_enforced_or_refused_to_be_signed", "bearer"),
    Mutant("size", "test_a_refused_upload_leaves_what_was_there"),
    Mutant("form_fields", "test_a_constraint_holds_beside_a_size_range"),
    Mutant("lost_metadata", "test_a_constraint_is_enforced_or_refused_to_be_signed"),
    Mutant("lost_metadata", "test_a_session_keeps_every_constraint_and_says_who_sees_to_it"),
    # downloads and browsers
    Mutant("overrides", "test_a_download_is_saved_under_the_name_that_was_signed"),
    Mutant("overrides", "test_a_download_says_what_was_signed_instead_of_what_is_stored"),
    Mutant("unsatisfiable_range", "test_a_range_past_the_end_is_unsatisfiable"),
    Mutant("cors", "test_a_browser_may_upload_with_the_headers_that_were_signed"),
    Mutant("cors", "test_a_browser_may_send_chunks_and_read_their_receipts"),
    # objects
    Mutant("normalised_keys", "test_weird_keys_stay_distinct"),
    Mutant("normalised_keys", "test_a_weird_key_makes_the_whole_way_through_every_http_stack"),
    Mutant("if_match", "test_write_if_match_replaces_only_what_was_seen"),
    Mutant("commit_if_absent", "test_write_if_absent_never_overwrites"),
    Mutant("commit_if_absent", "test_of_many_writers_if_absent_one_wins"),
    Mutant("copy_pin", "test_what_was_checked_is_what_is_promoted_or_nothing_is"),
    Mutant("copy_if_absent", "test_a_copy_if_absent_never_overwrites"),
    Mutant("delete_pin", "test_a_pinned_delete_spares_what_came_after"),
    Mutant("torn_write", "test_a_source_that_breaks_leaves_what_was_there"),
    Mutant("list_1000", "test_a_listing_of_more_than_a_page_is_whole_ordered_and_continues_anywhere"),
    Mutant("not_found", "test_an_object_that_is_not_there_is_blob_not_found"),
    # sessions
    Mutant("early_commit", "test_nothing_changes_at_the_key_before_complete"),
    Mutant("mixed_sessions", "test_of_two_sessions_on_one_key_one_wins_and_nothing_is_mixed"),
    Mutant("commit_order", "test_chunks_are_taken_in_any_order_or_the_plan_says_in_order"),
    Mutant("chunk_size", "test_a_chunk_of_the_wrong_size_is_never_assembled"),
    Mutant("commit_if_absent", "test_if_absent_an_object_that_came_meanwhile_is_not_overwritten"),
    Mutant("copy_if_absent", "test_if_absent_an_object_that_came_meanwhile_is_not_overwritten", "blocks"),
    Mutant("copy_if_absent", "test_of_two_sessions_that_complete_at_once_the_key_has_one_whole_object", "bearer"),
    Mutant("commit_checksum", "test_a_chunk_bound_to_a_checksum_is_refused_with_other_bytes"),
    Mutant("commit_checksum", "test_damaged_bytes_never_reach_the_key", "blocks"),
    Mutant("abort_deletes", "test_abort_after_complete_leaves_the_object"),
    Mutant("session_left", "test_an_aborted_session_cannot_be_completed"),
    Mutant("session_left", "test_sessions_left_behind_are_listed_and_swept"),
    Mutant("list_prefix", "test_sessions_left_behind_are_listed_and_swept"),
)  # fmt: skip


def failures(mutant: Mutant) -> list[str]:
    """The first test that fails against the crippled storage, of those with the name that must."""
    harness = ToyHarness(mutant.manner, frozenset({mutant.without} - {"nothing"}))
    home = vars(suite)[mutant.caught_by].__module__.rpartition(".")[2]
    others = [f"--ignore={file}" for file in Path(suite.__path__[0]).glob("test_*.py") if file.stem != home]
    report = run(harness, args=["-k", mutant.caught_by, "-x", *others], quiet=True)
    assert report.usage is None, report.usage
    return [note.test for note in report.failed]


if __name__ == "__main__":
    json.dump({"|".join(mutant): failures(mutant) for mutant in MUTANTS}, sys.stdout)
