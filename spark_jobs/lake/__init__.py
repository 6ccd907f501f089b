"""The one door to the tables: definitions, catalog, views, drafts, audit, notes in snapshots, the Spark session."""
