"""The queues that are measured, each through its public API as its own documentation recommends. One module each."""
