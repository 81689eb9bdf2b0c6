"""Whether clean restores the tree: judged beside what find and sha256sum see of it."""

from __future__ import annotations

from tests.builder.packages import RULES, Workplace, for_both, log_of, make_source

DIRTY = """
echo new >left && echo kept >'in/a directory'
echo changed >>debian/shipped && rm debian/lost && ln -sf plain debian/link && chmod +x debian/plain
mkdir empty
"""
CLEAN = "clean:\n\trm -rf debian/tmp debian/files\n"
SHIPPED = {"shipped": "as it came\n", "lost": "here\n", "link": "a file\n", "plain": "text\n"}

SUMS = """cd "$(ls -d */)" && find . ! -type d -printf '%%p %%y %%m %%l ' -exec sha256sum {} ';' | sort >/var/tmp/$1"""
"""As Salsa CI does it."""
BEFORE, AFTER = SUMS.replace("$1", "before"), SUMS.replace("$1", "after")


@for_both
def test_what_a_clean_leaves_is_told_by_name_and_fails_the_build_after_delivery(work: Workplace) -> None:
    rules = RULES.format(name="tiny").replace("clean:\n", CLEAN)
    dsc = make_source(work.place, "mkdir in\n" + DIRTY, more={**SHIPPED, "rules": rules})
    words = ["--starting-build-commands", BEFORE, "--chroot-cleanup-commands", AFTER]
    words += ["--chroot-cleanup-commands", "diff /var/tmp/before /var/tmp/after || true"]
    code, printed = work.build(dsc, "--check-clean", *words)
    assert code == 2, printed[-3000:]
    told = printed.partition("| Check clean ")[2].partition("| ")[0]
    for line in (
        "new      in/a directory\n",
        "new      left\n",
        "changed  debian/link\n",
        "changed  debian/plain\n",
        "changed  debian/shipped\n",
        "gone     debian/lost\n",
    ):
        assert line in told
    assert told.count("\nnew ") + told.count("\nchanged ") + told.count("\ngone ") == 6
    # What the shell's tools see: three files changed, two new, one gone.
    assert (printed.count("\n> ./"), printed.count("\n< ./")) == (5, 4)
    log = log_of(work.output)
    assert "\nClean: fail: 2 new, 3 changed, 1 gone\n" in log
    assert "\nFail-Stage: check-clean\n" in log
    assert list(work.output.glob("*.deb"))


def test_a_tree_that_is_restored_passes_and_a_clean_that_fails_does_not(work: Workplace) -> None:
    rules = RULES.format(name="tiny").replace("clean:\n", CLEAN)
    code, printed = work.build(make_source(work.place, more={"rules": rules}), "--check-clean", "--nolog")
    assert code == 0, printed[-3000:]
    assert "\nClean: pass\n" in printed
    other = work.place / "other"
    other.mkdir()
    rules = RULES.format(name="tiny").replace("clean:\n", "clean:\n\t[ ! -e debian/files ]\n")
    code, printed = work.build(make_source(other, more={"rules": rules}), "--check-clean", "--nolog")
    assert code == 2
    assert "\nClean: fail: debian/rules clean does not succeed" in printed
