"""Agents: the algorithms, as alternative worker types behind one interface (`a3c.agents.base`).

An agent acts on observations and turns rollouts into gradients; `make` builds one from the settings. It may
import `networks`, `learning`, `settings` and the shapes of parameters, but no store, environment or process.
"""
