"""The training step as XLA sees it.

The step that train.py takes (`Learner.train_step`: gradient, clipping, update, average, and the skip of
what is not finite) is compiled by XLA as it is. XLA turns every variable that the step reads into a
parameter of the program and every one that it assigns into a result, so nothing has to be rewritten
without variables. A program has static shapes: one batch and one patch size.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from gllmm_tf.training.learner import Learner

ARGUMENTS = ("crops", "quality", "seed", "learning_rate")
"""What the step is given, in this order (`Learner.train_step`)."""


class Program:
    """The step as XLA sees it.

    Attributes:
        hlo: serialized HloModuleProto, not yet optimised, so for any kind of device.
        module: the same, parsed.
        parameters: names of the arguments and variables that the program takes, in order.
        results: "metrics" and names of the variables whose new values it returns, in order.
    """

    def __init__(self, hlo, parameters, results):
        self.hlo = hlo
        self.module = hlo_pb2.HloModuleProto.FromString(hlo)
        self.parameters = parameters
        self.results = results

    def opcodes(self):
        """Returns {opcode: count} over all computations."""
        counts = {}
        for computation in self.module.computations:
            for instruction in computation.instructions:
                counts[instruction.opcode] = counts.get(instruction.opcode, 0) + 1
        return counts

    def is_used(self, name):
        """Returns whether a result depends on the parameter `name`."""
        entry = next(
            c for c in self.module.computations if c.id == self.module.entry_computation_id
        )
        instructions = {instruction.id: instruction for instruction in entry.instructions}
        seen, queue = {entry.root_id}, [entry.root_id]
        for number in queue:
            new = set(instructions[number].operand_ids) - seen
            seen |= new
            queue.extend(new)
        wanted = self.parameters.index(name)
        return any(
            instructions[number].opcode == "parameter"
            and instructions[number].parameter_number == wanted
            for number in seen
        )


def variables_of(learner: Learner) -> dict[str, tf.Variable]:
    """Returns {name: variable} of all that a checkpoint holds; names are paths in it."""
    view = tf.train.TrackableView(learner.checkpoint)
    found, seen, queue = {}, set(), [((), learner.checkpoint)]
    for path, node in queue:  # breadth first: the shortest path names a variable
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            found["/".join(path)] = node
        else:
            queue.extend((path + (name,), child) for name, child in view.children(node).items())
    return found


def compile_step(learner: Learner) -> Program:
    """Returns the `Program` of a learner's step.

    Raises:
        RuntimeError: the step has something that cannot leave TensorFlow.
    """
    signature = learner.train_step.input_signature
    function = tf.function(
        learner.train_step.python_function, signature, autograph=False, jit_compile=True
    )
    concrete = function.get_concrete_function()
    # Given tensors rather than specs, XLA may take an argument's value for a constant.
    compiler = function.experimental_get_compiler_ir(*signature)
    hlo = compiler(stage="hlo_serialized", device_name="/device:CPU:0")
    name_of = {id(variable.handle): name for name, variable in variables_of(learner).items()}
    parameters = list(ARGUMENTS)
    for captured in concrete.captured_inputs:
        if id(captured) not in name_of:
            raise RuntimeError(f"the step captures {captured}, which no checkpoint holds")
        parameters.append(name_of[id(captured)])

    program = Program(hlo, parameters, None)
    shape = program.module.host_program_shape
    results = [None] * len(shape.result.tuple_shapes)
    for entry in program.module.input_output_alias.entries:
        results[entry.output_shape_index[0]] = parameters[entry.parameter_number]
    if results.count(None) != 1:
        raise RuntimeError(f"{results.count(None)} results of the step are no variables, not 1")
    results[results.index(None)] = "metrics"
    program.results = results
    check_program(program, learner)
    return program


def check_program(program, learner):
    """Every argument is a parameter and needed, and nothing calls back into TensorFlow."""
    shapes = [list(p.dimensions) for p in program.module.host_program_shape.parameters]
    variables = variables_of(learner)
    given = dict(zip(ARGUMENTS, learner.train_step.input_signature))
    wanted = [(given.get(n) or variables[n]).shape.as_list() for n in program.parameters]
    if shapes != wanted:
        raise RuntimeError(
            f"XLA made {len(shapes)} parameters of {len(wanted)} arguments and variables, "
            "or of other shapes"
        )
    for name in ARGUMENTS:
        if name == "quality" and not learner.config.lambdas:
            continue  # a fixed rate has none
        if not program.is_used(name):
            raise RuntimeError(f"the program does not depend on its argument {name!r}")
    foreign = {"custom-call", "infeed", "outfeed", "send", "recv", "rng"} & set(program.opcodes())
    if foreign:
        raise RuntimeError(f"the program has instructions {sorted(foreign)}, which do not travel")
