-- Restaurant identifiers become text, the order value has no currency in its name, and there is a column for the custom
-- features of a schema.

-- The view depends on the type of a column that changes.
DROP VIEW preptime.prediction_outcomes;

-- A column of a file that isn't in the data dictionary can have the new name. It's stored in `extra`, and gets another
-- name, so that its values stay readable.
UPDATE preptime.orders
SET extra = extra - 'order_value' || jsonb_build_object('order_value_other', extra -> 'order_value')
WHERE extra ? 'order_value';
UPDATE preptime.predictions
SET extra = extra - 'order_value' || jsonb_build_object('order_value_other', extra -> 'order_value')
WHERE extra ? 'order_value';
UPDATE preptime.columns
SET column_name = 'order_value_other'
WHERE table_name = 'orders' AND column_name = 'order_value';

UPDATE preptime.columns
SET column_name = 'order_value'
WHERE table_name = 'orders' AND column_name = 'order_value_gbp';

ALTER TABLE preptime.restaurants ALTER COLUMN restaurant_id TYPE text COLLATE "C" USING restaurant_id::text;
ALTER TABLE preptime.orders ALTER COLUMN restaurant_id TYPE text COLLATE "C" USING restaurant_id::text;
ALTER TABLE preptime.orders RENAME COLUMN order_value_gbp TO order_value;
ALTER TABLE preptime.predictions ALTER COLUMN restaurant_id TYPE text COLLATE "C" USING restaurant_id::text;
ALTER TABLE preptime.predictions RENAME COLUMN order_value_gbp TO order_value;

COMMENT ON COLUMN preptime.orders.restaurant_id IS 'Identifier as text, without spaces at both ends';

-- A column without a default is added without rewriting rows.
ALTER TABLE preptime.restaurants ADD COLUMN features jsonb;
ALTER TABLE preptime.orders ADD COLUMN features jsonb;

COMMENT ON COLUMN preptime.restaurants.features IS 'Custom features of the schema: numbers, and texts for categories';
COMMENT ON COLUMN preptime.orders.features IS 'Custom features of the schema: numbers, and texts for categories';

CREATE VIEW preptime.prediction_outcomes AS
SELECT predictions.*, outcomes.prep_time_seconds, outcomes.ready_at
FROM preptime.predictions
JOIN preptime.outcomes
    ON outcomes.order_key = predictions.order_key AND outcomes.order_date = predictions.prediction_date;
