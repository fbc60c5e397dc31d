"""One run on several machines: each node trains as one machine does, and nodes exchange what they learned.

`exchange` is the arithmetic between the nodes and the anchor, `rules` how the anchor combines what nodes
learned, `replica` the node's side. These three know no Ray.
"""
