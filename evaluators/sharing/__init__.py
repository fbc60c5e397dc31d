"""`a3c package` and `a3c push`: a trained agent as a folder, and that folder on the Hugging Face Hub.

It may import `games`, `showing`, `curves` and `scoring`, and `a3c.trained`.
"""
