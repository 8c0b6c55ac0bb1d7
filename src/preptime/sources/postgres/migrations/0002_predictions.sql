-- Predictions by day and bundle. `position` is the index of the row in the written frame.
CREATE TABLE preptime.predictions (
    prediction_date date NOT NULL,
    prediction_bundle text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    order_key text COLLATE "C",
    order_acknowledged_at text,
    order_value_gbp double precision,
    restaurant_id bigint,
    number_of_items bigint,
    order_id text,
    country text,
    city text,
    type_of_food text,
    open_orders bigint,
    predicted_seconds real,
    predicted_p10_seconds real,
    predicted_p50_seconds real,
    predicted_p80_seconds real,
    predicted_p90_seconds real,
    predicted_ready_at text,
    prediction_fallback_level text,
    prediction_reason text,
    models jsonb,
    extra jsonb,
    PRIMARY KEY (prediction_date, prediction_bundle, position),
    UNIQUE (prediction_date, prediction_bundle, order_key)
) PARTITION BY LIST (prediction_date);

COMMENT ON COLUMN preptime.predictions.models IS 'Seconds of each point model';

-- Each prediction with its outcome. There is one row for each bundle that predicted the order.
CREATE VIEW preptime.prediction_outcomes AS
SELECT predictions.*, outcomes.prep_time_seconds, outcomes.ready_at
FROM preptime.predictions
JOIN preptime.outcomes
    ON outcomes.order_key = predictions.order_key AND outcomes.order_date = predictions.prediction_date;
