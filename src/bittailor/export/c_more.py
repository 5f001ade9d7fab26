"""What surrounds exported C: a class of C++, an Arduino sketch, a Zephyr module with a main program."""

from __future__ import annotations

from collections.abc import Mapping

from bittailor.export.c_model import Model
from bittailor.export.template import fill

_STEP = """
    /* One frame; y is the output as if the sequence ended here, or nullptr. */
    void step(const in *x, out *y) { @_step(&state_, &scratch_, x, y); }
"""


def surroundings(model: Model, names: Mapping[str, str]) -> dict[str, str]:
    """Files beside the code: name -> text. `names` are those of the other templates."""
    p, streams = model.prefix, model.order.streaming
    step = f"{p}_step(&state, &scratch, x, y);" if streams else f"(void){p}_run(&state, &scratch, x, 1, y);"
    return {
        f"src/{p}.hpp": fill("network.hpp", **names, step=_STEP.replace("@", p) if streams else ""),
        f"examples/{p}_serial/{p}_serial.ino": fill(
            "arduino.ino", **names, outputs=f"{p}::Network::outputs",
            call="network.step(x, y);" if streams else "(void)network.run(x, 1, y); // sequences of one frame"),
        "zephyr/module.yml": fill("zephyr_module.yml", **names),
        "zephyr/CMakeLists.txt": fill("zephyr_CMakeLists.txt", **names),
        "zephyr/Kconfig": fill("zephyr_Kconfig", **names),
        f"examples/{p}_zephyr/main.c": fill("zephyr_main.c", **names, call=step),
        f"examples/{p}_zephyr/prj.conf": f"CONFIG_{model.macro}=y\n",
    }
