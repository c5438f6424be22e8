"""Inside a model process: `main` loads the model, `loop` computes, `channel` talks to the server."""
