"""The pages: server-rendered, usable without JavaScript.

from insight_cloud.app.dashboard import routes as dashboard

api.install(app, error_page=dashboard.error_page)
app.include_router(dashboard.router, include_in_schema=False)
app.mount("/static", dashboard.static)
"""
