"""Hashed vectors: functions of the text alone, near for texts that share words."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_clustering_dagster.llm.embedding.embedder import NO_TEXT
from trace_clustering_dagster.llm.embedding.hashed import STOP_WORDS, HashedEmbedder

TEXTS = (
    "Title: Refund for a cancelled flight\n\nFlow:\nUser -> get_user_details -> cancel_booking",
    "Wie ändere ich die Adresse meiner Bestellung? Die Straße heißt jetzt anders.",
    "机票退款申请 ✈️ 2026, पुराना टिकट रद्द करें",
)
# sha256 of each vector's bytes. Other bytes are another space, whose vectors no stored vector can
# be compared with: a change here needs another name of the space.
BYTES = {
    "name": "hashed-ngrams-1-512",
    "digests": [
        "0a4d679ed7d6cf66af9b62384fe5b6c0454ba7712ad57c29e661bb1f7ebbf7f4",
        "51e6f9f722245c67d81a6295acd2b6abc9a86b17d2e5fa6b7982fecfc3ff51d9",
        "3027b06bd496f7c076781e30c525ee8450f7d8d1a9d59c340de94bd2a98cc2a7",
    ],
}
WORDS = "81c62c57723336147fea7cfe5d3dd2218e02b41661238893df6dbe3b10f2069a"


def vectors(*texts: str) -> np.ndarray:
    return HashedEmbedder().embed(texts).matrix


def test_bytes_of_the_vectors_never_change() -> None:
    digests = [hashlib.sha256(row.astype("<f4").tobytes()).hexdigest() for row in vectors(*TEXTS)]
    assert {"name": HashedEmbedder().name, "digests": digests} == BYTES


def test_the_words_that_are_left_out_never_change() -> None:
    words = " ".join(sorted(STOP_WORDS)).encode()
    assert hashlib.sha256(words).hexdigest() == WORDS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8), st.randoms(use_true_random=False))
def test_vector_depends_on_its_text_alone(texts: list[str], random: object) -> None:
    embedded = HashedEmbedder().embed(texts)
    assert embedded.matrix.dtype == np.float32
    assert embedded.matrix.shape == (len(embedded.kept), 512)
    assert np.allclose(np.linalg.norm(embedded.matrix, axis=1), 1, atol=1e-6)
    assert len(embedded.kept) + sum(embedded.left_out.values()) == len(texts)
    together = dict(zip(embedded.kept, embedded.matrix, strict=True))
    for index, text in enumerate(texts):
        alone = HashedEmbedder().embed([text])
        assert len(alone.kept) == (index in together)
        if alone.kept:
            assert alone.matrix[0].tobytes() == together[index].tobytes()


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(len(TEXTS) + 1)))
def test_order_of_the_texts_does_not_matter(order: list[int]) -> None:
    texts = [*TEXTS, TEXTS[0] + " again"]
    assert (vectors(*(texts[i] for i in order)) == vectors(*texts)[order]).all()


@settings(max_examples=60, deadline=None)
@given(st.permutations(["refund", "flight", "hotel", "refund", "invoice", "booking_id"]))
def test_order_of_the_words_does_not_matter(words: list[str]) -> None:
    assert (vectors(" ".join(words)) == vectors(" ".join(sorted(words)))).all()


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("cancel my flight to Oslo", "flight canceled, Oslo", "write a unit test in Python"),
        ("get_user_details", "user details", "search_flights"),
        ("机票退款", "我要退款机票", "写一个单元测试"),
        ("ホテルを予約したい", "ホテルの予約", "請求書の住所を変更"),
        ("पुराना टिकट रद्द करें", "टिकट रद्द", "होटल का कमरा"),
        ("отменить рейс", "отмена рейса", "написать тест"),
        ("C++ compiler error", "an error of the C++ compiler", "C# books"),
        ("REFUND", "ｒｅｆｕｎｄ", "hotel"),
    ],
)
def test_texts_with_common_words_are_near(text: str, near: str, far: str) -> None:
    own, close, away = vectors(text, near, far)
    assert own @ close > 0.3
    assert own @ close > own @ away + 0.2


def test_numbers_and_stop_words_count_only_where_there_is_nothing_else() -> None:
    refund, with_more, thanks, number, emoji = vectors(
        "refund flight", "please refund the flight 4711", "thank you", "4711", "🎉🎉 👍"
    )
    assert (refund == with_more).all()
    for row in (thanks, number, emoji):
        assert abs(row @ refund) < 0.3


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", "\ud83d", "\u3000"])
def test_text_without_a_character_is_left_out(text: str) -> None:
    embedded = HashedEmbedder().embed(["refund", text, "hotel"])
    assert embedded.kept == (0, 2)
    assert embedded.left_out == {NO_TEXT: 1}


def test_lone_surrogates_separate_words() -> None:
    one, other = vectors("refund \ud83dflight\x00", "refund flight")
    assert (one == other).all()


def test_no_texts_give_an_empty_matrix() -> None:
    embedded = HashedEmbedder().embed([])
    assert embedded.matrix.shape == (0, 512)
    assert (embedded.kept, embedded.left_out) == ((), {})


def test_encoded_data_does_not_drown_the_words() -> None:
    noise = hashlib.sha512(b"noise").hexdigest() * 40
    with_data, plain = vectors(f"cancel the flight {noise}", "cancel the flight")
    assert with_data @ plain > 0.3


def test_scikit_learn_is_not_imported() -> None:
    script = (
        "import sys\n"
        "from trace_clustering_dagster.llm.embedding.hashed import HashedEmbedder\n"
        "HashedEmbedder().embed(['refund'])\n"
        "print([m for m in ('sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]"]
