"""One container id is one series of one cgroup."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.workloads.homes import Homes
from kepler_ebpf.workloads.text import MAX_NAME

ID = "c" * 64


def label(homes: Homes, owner: str, home: str, *, helper: bool = False) -> str:
    claim = homes.claim(owner, ID, home, helper=helper)
    assert claim is not None
    return claim.label


def test_the_first_has_the_id_and_others_have_labels_of_their_own() -> None:
    homes = Homes()
    assert label(homes, "", "/docker/c") == ID
    assert label(homes, "", "/elsewhere/c") == f"{ID}@2"
    assert label(homes, "1000", "/user/c") == f"1000/{ID}"
    assert label(homes, "1000", "/user/other/c") == f"1000/{ID}@2"
    assert label(homes, "", "/docker/c") == ID, "as before"
    firsts = [claim is not None and claim.first for claim in map(homes.of, (ID, f"{ID}@2", f"1000/{ID}"))]
    assert firsts == [True, False, True], "names are asked for the first of each owner"


def test_a_label_is_never_too_long() -> None:
    homes = Homes()
    claims = [homes.claim("1000", "x" * MAX_NAME, home) for home in ("/1", "/2")]
    labels = [claim.label for claim in claims if claim is not None]
    assert [len(one) for one in labels] == [MAX_NAME, MAX_NAME]
    assert labels[1].endswith("x@2")


def test_a_helper_joins_its_own_container_whichever_comes_first() -> None:
    for helper_first in (True, False):
        homes = Homes()
        calls = [("/machine/conmon", True), ("/machine/c", False)]
        labels = {label(homes, "", home, helper=helper) for home, helper in (calls if helper_first else calls[::-1])}
        assert labels == {ID}
        assert label(homes, "1000", "/user/conmon", helper=True) != ID, "and nobody else's"
        homes.forget(ID)
        assert homes.of(ID) is None
        assert label(homes, "", "/machine/c") == ID


def test_a_user_has_only_so_many() -> None:
    homes = Homes(most_per_user=3)
    claims = [homes.claim("1000", f"{number:064x}", f"/{number}") for number in range(5)]
    assert [claim is None for claim in claims] == [False, False, False, True, True]
    assert homes.claim("1001", ID, "/other") is not None
    assert all(homes.claim("", f"{number:064x}", f"/root/{number}") for number in range(1000))
    homes.forget(f"1000/{0:064x}")
    assert homes.claim("1000", ID, "/again") is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "1000", "1001"]),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["/1", "/2", "/3"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_no_two_cgroups_share_a_label_unless_one_helps_the_other(
    calls: list[tuple[str, str, str, bool, bool]],
) -> None:
    homes = Homes()
    for owner, id_, home, helper, releases in calls:
        claim = homes.claim(owner, id_, home, helper=helper)
        assert claim is not None
        assert (claim.owner, claim.id) == (owner, id_)
        assert homes.of(claim.label) == claim
        assert claim.label.startswith(f"{owner}/" if owner else id_), "a bare id is root's, whoever comes first"
        if not helper:
            assert homes.find(owner, id_, home) == claim
        if releases:
            homes.forget(claim.label)
