"""A bank that can be broken and mended: the example in a folder of its own, with a function that fails at one amount.

Written as its author would break it: in the files that are deployed. `evento dev` on the folder sees every change.
"""

import os
import shutil
from pathlib import Path

from tests.faults.node import ROOT

POISON = "6.66"
RAISES = 'raise RuntimeError("cannot think about this amount")'
HANGS = "time.sleep(3600)"
LATE = "time.sleep(4.0)"  # and then it answers, when nobody listens any more
CRASHES = "os._exit(3)"
_DEPOSIT = "def receive(command: ReceiveDeposit, account: Checking | None)"
_COMMAND = "events: [MoneyReceived]\n  rejections: [DepositRejected]\n  handle: bank-functions\n"
_FUNCTION = 'command: [python, "-m", evento.sdk, "bank:app"]\n'
_TIMEOUT = "3s"


class Shop:
    """The folder of a bank; `retry` is the policy of its deposits, as in a manifest."""

    def __init__(self, folder: Path, *, retry: str = "{first: 50ms, cap: 30s}") -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._module = folder / "bank.py"
        self._sound = (ROOT / "examples" / "bank" / "bank.py").read_text()
        manifests = (ROOT / "examples" / "bank" / "manifests.yaml").read_text()
        assert _COMMAND in manifests
        assert _FUNCTION in manifests
        assert _DEPOSIT in self._sound
        manifests = manifests.replace(_COMMAND, f"{_COMMAND}  retry: {retry}\n")
        (folder / "manifests.yaml").write_text(manifests.replace(_FUNCTION, f"{_FUNCTION}  timeout: {_TIMEOUT}\n"))
        self.mend()

    def poison(self, how: str) -> None:
        """Let every deposit of 6.66 end in this statement."""
        head, _, tail = self._sound.partition(_DEPOSIT)
        signature, _, body = tail.partition("\n")
        broken = f'    import os\n    import time\n    if str(command.amount) == "{POISON}":\n        {how}\n'
        self.write(f"{head}{_DEPOSIT}{signature}\n{broken}{body}")

    def change(self, old: str, new: str) -> None:
        """Change the rules, wherever this text stands in them."""
        assert old in self._sound
        self.write(self._sound.replace(old, new))

    def mend(self) -> None:
        """Write it as it was."""
        self.write(self._sound)

    def write(self, text: str) -> None:
        """Replace the module at once: nobody sees half of it."""
        new = self.folder.parent / "bank.py.new"
        new.write_text(text)
        os.replace(new, self._module)

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)
