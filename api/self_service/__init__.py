"""The cardholder's page: server-rendered, without scripts, in three languages, behind a signed link."""
