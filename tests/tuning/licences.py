"""Short licence texts for tests."""

MIT = """MIT License

Copyright (c) 2026 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files, to deal in the Software without restriction.

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.
"""
