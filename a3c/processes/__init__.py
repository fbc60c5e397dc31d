"""Processes of any kind, kept going: started, watched, ended, replaced.

What belongs here knows nothing of learning: the supervisor that decides (pure), the group that carries it
out, a child's own end of the pipe, signals, and what a service manager is told. It may import
`a3c.errors` and nothing else of the project.
"""
