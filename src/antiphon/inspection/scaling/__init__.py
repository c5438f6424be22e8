"""A plan for a run on other machines: what fits, how it is sharded, how long it takes and what it costs.

    shape = network_shape(network)                              # sizes of the layers; the network may be on `meta`
    count_flops(shape, BatchShape(rows=64, source=48, target=52, labels=3100)).training
    plan_run(job, read_cluster("64xH200"))

shape.py reads the sizes of a network, flops.py and activations.py count operations and bytes of a micro-batch,
memory.py the bytes of a GPU, communication.py what a rank sends, step_time.py the seconds of a step, and plan.py puts
them together. All of it is arithmetic on numbers: no GPU is needed. docs/scaling.md compares it with counted values and
with published runs.
"""
