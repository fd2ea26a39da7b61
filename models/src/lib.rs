//! The model zoo: seeded builders and the catalogue of trained models.
