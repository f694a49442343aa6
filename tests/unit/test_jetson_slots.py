"""The two slots of a Jetson, from what nvbootctrl printed and what the firmware's variables hold on real machines.

The dumps are `tests/support/slots`, each with the place where somebody published it. Variables are NVIDIA's own eight
bytes (edk2-nvidia: L4TRootfsValidation.c, BootChainDxe.c, L4TConfiguration.dts): attributes 7, or 6 where the firmware
makes them anew at each start.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.board import jetson_slots
from edge.board.jetson_slots import Dump, Slot, Slots
from edge.cli.checks import slots as check

FOLDER = Path(__file__).parents[1] / "support" / "slots"
NORMAL, UNBOOTABLE = b"\x07\0\0\0\0\0\0\0", b"\x07\0\0\0\xff\0\0\0"
LOCKED_0, LOCKED_1, LOCKED_3 = (bytes((6, 0, 0, 0, level, 0, 0, 0)) for level in (0, 1, 3))
AB = {
    "RootfsRedundancyLevel": LOCKED_1,
    "RootfsRetryCountMax": LOCKED_3,
    "RootfsStatusSlotA": NORMAL,
    "RootfsStatusSlotB": NORMAL,
    "BootChainFwCurrent": LOCKED_0,
}


def printed(name: str) -> str:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def told(name: str) -> Dump:
    found = jetson_slots.dump(printed(name))
    assert found is not None
    return found


def machine(root: Path, variables: dict[str, bytes], second: bool = True) -> Path:
    folder = root / jetson_slots.VARIABLES
    folder.mkdir(parents=True)
    for name, content in variables.items():
        (folder / f"{name}-{jetson_slots.GUID}").write_bytes(content)
    if second:
        link = root / jetson_slots.SECOND_ROOT
        link.parent.mkdir(parents=True)
        link.symlink_to("../../nvme0n1p2")  # which is not there: only its name is looked at
    return root


def codes(slots: Slots) -> list[str]:
    return [finding.code for finding in jetson_slots.findings(slots)]


@pytest.mark.parametrize("name", ["l4t35_rootfs_a_unbootable", "l4t36_rootfs_a_unbootable"])
def test_an_unbootable_slot_is_named_with_the_way_back(name: str) -> None:
    dump = told(name)
    assert (dump.kind, dump.current, dump.active) == ("rootfs", "B", "B")
    assert dump.slots == (Slot(name="A", status="unbootable", left=0), Slot(name="B", status="normal", left=3))
    (finding,) = jetson_slots.findings(Slots(rootfs=dump))
    assert finding.bad
    assert "root file system A is unbootable (0xFF): it is never tried again" in finding.words
    file = "/sys/firmware/efi/efivars/RootfsStatusSlotA-781e084c-a330-417c-b678-38e696380cb9"
    assert f"chattr -i {file}; printf '\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00' > {file}" in finding.mend


@pytest.mark.parametrize(
    ("name", "version", "slot"),
    [
        ("l4t35_firmware_normal", "35.4.1", "A"),
        ("l4t36_firmware_b", "36.4.7", "B"),
        ("l4t39_firmware_a", "39.2.1", "A"),
    ],
)
def test_firmware_that_is_well(name: str, version: str, slot: str) -> None:
    dump = told(name)
    assert (dump.kind, dump.version, dump.capsule, dump.current, dump.active) == ("bootloader", version, 0, slot, slot)
    assert dump.slots == (Slot(name="A", status="normal"), Slot(name="B", status="normal"))
    assert codes(Slots(firmware=dump)) == []


def test_two_good_root_file_systems() -> None:
    dump = told("l4t35_rootfs_both_normal")
    assert [slot.left for slot in dump.slots] == [3, 3]
    assert codes(Slots(rootfs=dump, firmware=told("l4t35_firmware_normal"))) == []


def test_what_is_no_dump_of_ours_is_none() -> None:
    assert jetson_slots.dump("") is None
    assert jetson_slots.dump("Error: can not open /dev/mem") is None
    old = jetson_slots.dump(printed("l4t32_firmware"))
    assert old is not None
    assert (old.slots, old.version, old.capsule) == ((), "", None)


@given(st.text())
def test_no_output_breaks_the_reader(text: str) -> None:
    dump = jetson_slots.dump(text)
    assert dump is None or dump.kind in ("rootfs", "bootloader")


@given(st.dictionaries(st.sampled_from(jetson_slots.NAMES), st.integers(0, 2**32 - 1)), st.booleans())
def test_no_value_breaks_the_judge(variables: dict[str, int], second: bool) -> None:
    for finding in jetson_slots.findings(Slots(variables=variables, second_root=second)):
        assert finding.words
        assert finding.mend


def test_one_root_file_system_is_no_fault_and_a_second_that_nobody_looks_at_is() -> None:
    one = told("l4t36_one_root")
    (alone,) = jetson_slots.findings(Slots(rootfs=one))
    (idle,) = jetson_slots.findings(Slots(rootfs=one, second_root=True))
    assert (alone.code, alone.bad, idle.code, idle.bad) == ("one_root", False, "not_redundant", True)
    assert "set-active-boot-slot` does nothing" in idle.words


def test_a_level_that_is_missing_is_as_good_as_0(tmp_path: Path) -> None:
    root = machine(tmp_path, {name: content for name, content in AB.items() if name != "RootfsRedundancyLevel"})
    assert codes(Slots(variables=jetson_slots.variables(root), second_root=True)) == ["not_redundant"]


def test_b_is_not_judged_where_the_firmware_never_looks_at_it() -> None:
    variables = {"RootfsRedundancyLevel": 0, "RootfsStatusSlotA": 0, "RootfsStatusSlotB": 0xFF}
    assert codes(Slots(variables=variables)) == ["one_root"]


def test_the_variables_alone_tell_it(tmp_path: Path) -> None:
    root = machine(tmp_path, AB | {"RootfsStatusSlotB": UNBOOTABLE, "BootChainFwStatus": b"\x07\0\0\0\x03\0\0\0"})
    slots = Slots(variables=jetson_slots.variables(root), second_root=jetson_slots.second_root(root))
    assert (jetson_slots.current(slots), jetson_slots.redundant(slots)) == ("A", True)
    assert codes(slots) == ["unbootable", "switch_left"]


@pytest.mark.parametrize("content", [b"", b"\x07\0\0\0", b"\x07\0\0\0\0\0\0\0\0", b"\x07\0\0\0\x01"])
def test_a_variable_of_another_size_is_not_believed(tmp_path: Path, content: bytes) -> None:
    assert jetson_slots.variables(machine(tmp_path, {"RootfsStatusSlotA": content})) == {}


@pytest.mark.parametrize(
    ("left", "code"),
    [((3, 3), []), ((2, 3), ["unconfirmed"]), ((0, 3), ["no_tries"]), ((3, 0), ["no_tries"]), ((3, 1), [])],
)
def test_tries(left: tuple[int, int], code: list[str]) -> None:
    """The other slot's may be fewer: it was tried before, and the power cycle gives them back."""
    rows = tuple(Slot(name=name, status="normal", left=count) for name, count in zip("AB", left, strict=True))
    assert codes(Slots(rootfs=Dump(kind="rootfs", current="A", active="A", slots=rows))) == code


def test_capsules_and_switches() -> None:
    firmware, rootfs = told("l4t35_firmware_normal"), told("l4t36_rootfs_a_unbootable")
    failed = msgspec.structs.replace(firmware, capsule=3, slots=(*firmware.slots[:1], Slot(name="B", status="bad")))
    assert codes(Slots(firmware=failed)) == ["firmware", "capsule"]
    assert codes(Slots(firmware=msgspec.structs.replace(firmware, active="B"))) == ["to_be_switched"]
    assert "crossed" in codes(Slots(firmware=firmware, rootfs=rootfs))


def test_the_row(tmp_path: Path) -> None:
    root = machine(tmp_path, AB)
    dumps = {3: printed("l4t35_rootfs_both_normal"), 1: printed("l4t35_firmware_normal")}
    good = check.row(root, jetson=True, ask=lambda words: dumps[len(words)])
    assert (good.good, good.mend) == (True, "")
    assert good.found == "A runs, firmware 35.4.1; root file systems: A normal, 3 tries left, B normal, 3 tries left"
    dumps[3] = printed("l4t35_rootfs_a_unbootable")
    bad = check.row(root, jetson=True, ask=lambda words: dumps[len(words)])
    assert bad.good is False
    assert "never tried again" in bad.found
    assert "printf" in bad.mend
    alone = check.row(root, jetson=True, ask=lambda _: "")
    assert alone.good is True
    assert alone.found == "A runs; root file systems: A normal, B normal"


def test_the_row_is_not_tried_where_nothing_says_anything(tmp_path: Path) -> None:
    row = check.row(tmp_path, jetson=True, ask=lambda _: "")
    assert row.good is None
    assert "as root" in row.found
    assert check.row(tmp_path, jetson=False).found == "not tried: not a Jetson"


def test_nvbootctrl_is_asked_without_a_shell_and_its_code_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with code 1 and "can not open /dev/mem" on machines where all of its answer is right."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "dump-slots-info" not in check.nvbootctrl(["dump-slots-info"])
    program = tmp_path / "nvbootctrl"
    program.write_text(
        '#!/bin/sh\necho "Current bootloader slot: A $*"\necho "Error: can not open /dev/mem" >&2\nexit 1\n'
    )
    program.chmod(0o755)
    assert check.nvbootctrl(["dump-slots-info"]).startswith("Current bootloader slot: A dump-slots-info\nError")
