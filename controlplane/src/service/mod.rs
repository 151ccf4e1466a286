//! Rules about meetings and the people in them; knows neither HTTP nor the store'\''s engine.
