"""The rules language of Cloudflare, read and evaluated on this machine.

blocked = compiled('http.request.uri.path contains "/wp-login.php" and not cf.client.bot')
fields = fields_of(Request("https://example.com/wp-login.php", known={"cf.client.bot": False}))
assert blocked(fields) is True
assert blocked(fields_of(Request("https://example.com/wp-login.php"))) is None  # who is it?
"""

from insight_cloud.edge.language.errors import ExpressionError
from insight_cloud.edge.language.evaluate import compiled, compiled_value, tree
from insight_cloud.edge.language.parser import parse, parse_value
from insight_cloud.edge.language.request import Request, fields_of

__all__ = [
    "ExpressionError",
    "Request",
    "compiled",
    "compiled_value",
    "fields_of",
    "parse",
    "parse_value",
    "tree",
]
