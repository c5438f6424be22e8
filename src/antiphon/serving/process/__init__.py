"""Models in processes of their own, which is how the server computes answers: `ProcessService` is a `ModelService`.

    service = ProcessService(ProcessSettings(models=(ModelEntry(name="demo", path="runs/demo"),)))
    await service.start()
    async for event in service.generate(GenerateCall(inputs=["in 3 hours"])): ...
    await service.stop()

The process of the server imports no PyTorch. The path of a call: `service` (which model) -> `hosted` (cache, queue) ->
`scheduling` (whose turn it is) -> `supervisor` (the process, and its replacement) -> `worker` (in the process).
"""
