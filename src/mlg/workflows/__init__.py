"""Durable sagas, one page of named steps each; the only home of DBOS."""
