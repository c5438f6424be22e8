"""Answers, scores and evaluations of many files (shards), on several processes, so that nothing is lost or doubled.

    job = BulkJob(task="generate", models=("runs/demo",), shards=shards_of(files, suffix=".jsonl"))
    run_bulk(job, "answers", processes=2)

Each shard has one output file. A process reads a block of rows, answers it, appends the answers to a partial file,
makes both durable, and notes in the shard's journal how far it is. A shard that is complete is renamed to its place.
So a job that is killed at any moment continues from its last blocks, and its output is that of an undisturbed one.
"""
