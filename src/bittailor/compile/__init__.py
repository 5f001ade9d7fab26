"""The one compiler: from a graph, then a program, to typed phases that engines, exporters and cost models read.

Nobody else decides what runs together, in which order, or where a value lives. (`core/walk.py` computes operator after
operator: it is the independent reference that the others are compared with.) The words, from small to large:

instruction  one operator reading its inputs feature by feature or as a whole (`segments.Instruction`); a concat is one
             for each input. Bound to a program it is a `bound.BoundInstruction`: its numbers, zero-points folded in
phase        instructions fused into one loop over features; what they pass on feature by feature stays in a register
segment      phases over the same steps: a recurrence, a chain of operators, or one operator over time
pass         a run over the steps, forward or backward, shared by all segments of that direction
order        the passes, then the head: phases on single values. One pass forward can stream
interval     first and last phase in which memory must hold a site (`liveness`); sites whose intervals do not meet share
             a slot (`memory.first_fit`)
layout       how a weight matrix lies in flash for the kernels of a core (`layouts`); `bits` where none takes it
blocks       the matrices of a program that lie in blocks of rows for a core, and vectors made ready for them (`blocks`)
image        the memory that a program takes on a device, to the byte: constants, state, scratch
group        the other view, for engines that run an operator over all steps at once: like operators side by side in one
             call, and what depends on no state hoisted out of the loop over the steps (`groups`)

From the graph, worked out once and remembered:

    arrange(graph)       -> the segments            read by the native engine's lowering
    order_of(graph)      -> the order               read by the C exporter and its checks
    liveness_of(graph)   -> the order and intervals read by the C exporter, the image, the cost model
    make_schedule(graph) -> groups and buffers      read by the torch engine and training

From a program:

    bind_instructions(constants, formats) -> the numbers of an operator's instructions: native bytes, C lines, costs
    blocks_of(program, order, core)       -> the layouts of a core: read by the image, the C exporter, the cost model
    image_of(program, steps, core)        -> flash and RAM
"""

from bittailor.compile.bound import BoundInstruction, bind_instructions
from bittailor.compile.groups import make_schedule
from bittailor.compile.image import Image, image_of
from bittailor.compile.liveness import Liveness, liveness_of
from bittailor.compile.order import Order, order_of
from bittailor.compile.segments import Instruction, NotLowered, Phase, Segment, arrange

__all__ = ["BoundInstruction", "Image", "Instruction", "Liveness", "NotLowered", "Order", "Phase", "Segment", "arrange",
           "bind_instructions", "image_of", "liveness_of", "make_schedule", "order_of"]
