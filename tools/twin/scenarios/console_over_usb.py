"""The console on a USB gadget's port (the kernel's own gadget and host drivers): udev brings it, a pulled cable ends
the login and nothing else, and a gadget that goes away and comes back has its console again."""

from __future__ import annotations

import time

from tools.twin.guest import box, line
from tools.twin.guest.twin import Twin, expect


def run(twin: Twin) -> None:
    key, unit = line.make_service_key(), box.CONSOLE.format(line.USB.name)
    line.make_usb_cable()
    console = twin.wait("udev starts the console", lambda: box.pid(unit) or None)
    person = line.Person(line.USB_FAR_END)
    person.at_the_prompt()
    said = person.logs_in(key, box.NAME)
    expect("welcome, A. Engineer" in said, said)
    said, _ = person.asks("log 1")
    expect("refused" not in said, said)

    line.pull_usb_cable()
    person.close()
    twin.wait("the laptop's port is gone", lambda: not line.USB_FAR_END.exists() or None)
    plugged = time.monotonic()
    line.plug_usb_cable()
    person = line.Person(line.USB_FAR_END)
    person.at_the_prompt()
    twin.measure("plug to prompt, s", time.monotonic() - plugged)
    said, _ = person.asks("log 1")
    expect("log in first" in said, f"the login has survived the cable: {said}")
    expect(box.pid(unit) == console, "the console was started again")

    person.close()
    line.remove_usb_gadget()
    twin.wait("the console goes with its port", lambda: box.pid(unit) == 0 or None)
    made = time.monotonic()
    line.make_usb_cable()
    twin.wait("udev starts the console", lambda: box.pid(unit) or None)
    person = line.Person(line.USB_FAR_END)
    person.at_the_prompt()
    twin.measure("port to prompt, s", time.monotonic() - made)
    person.close()
    line.remove_usb_gadget()
