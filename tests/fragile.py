"""An objective whose trials do their worst in their second of three steps, as the variable FATES says: `kill:3 crowd:5`.

`kill` ends the process, `lost` loses the device, `hang` says nothing more, once; `crowd` lets memory run out while another trial
trains, `memory` in any case. A step takes a moment, so that trials of one process are in training at the same time.
"""

from __future__ import annotations

import os
import signal
import time

import toy

from hpo.objective import CrowdedError, DeviceLostError, Objective
from hpo.scoring.score import Score
from hpo.system.files import write_atomically

FATES = dict(fate.split(":")[::-1] for fate in os.environ.get("FATES", "").split())  # by trial
STEP = 0.05  # seconds


class Climb(toy.Climb):
    together = 0  # in training now, in this process

    def epochs(self, _tick):
        Climb.together += 1
        try:
            for n in range(len(self.history) + 1, 4):
                time.sleep(STEP)
                if n == 2:
                    self.meet(FATES.get(str(int(self.file.parent.name[6:]))))
                write_atomically(self.file, b"%d" % n)
                yield self.step(n)
        finally:
            Climb.together -= 1

    def meet(self, fate):
        match fate:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "lost":
                raise DeviceLostError("the GPU failed: CUDA error: device-side assert triggered")
            case "hang" if not (hung := self.file.with_name("hung")).exists():
                hung.touch()
                time.sleep(1000)
            case "crowd" if Climb.together > 1:
                raise CrowdedError("the device ran out of memory.")
            case "memory":
                raise CrowdedError("the device ran out of memory.")


def prepare(_setup, _tell):
    return {}, Climb


OBJECTIVE = Objective("hill", toy.Knobs, {"large": toy.LARGE}, loader="fragile", score=Score("height", "m"), lanes=True)
