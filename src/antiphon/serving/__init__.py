"""The server: models in processes of their own, an HTTP interface, a page to try it, and the client."""
