-- Orders by local day, restaurants, and outcomes.

-- The columns of the loaded files, in order. Readers get these columns.
CREATE TABLE preptime.columns (
    table_name text NOT NULL,
    position integer NOT NULL,
    column_name text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);

CREATE TABLE preptime.restaurants (
    restaurant_id bigint PRIMARY KEY,
    country text,
    city text,
    type_of_food text,
    time_zone text,
    extra jsonb
);

-- A timestamptz stores only the instant. The local time and the delivered text are stored in addition, so that an order
-- from the database equals the order in the file, including its offset.
CREATE TABLE preptime.orders (
    order_key text COLLATE "C" NOT NULL,
    order_date date NOT NULL,
    acknowledged_at timestamptz NOT NULL,
    acknowledged_local timestamp NOT NULL,
    ready_at timestamptz,
    order_acknowledged_at text NOT NULL,
    order_value_gbp double precision,
    restaurant_id bigint,
    number_of_items bigint,
    order_ready_at text,
    prep_time_seconds bigint,
    order_id text,
    country text,
    city text,
    type_of_food text,
    open_orders bigint,
    extra jsonb,
    PRIMARY KEY (order_date, order_key)
) PARTITION BY LIST (order_date);

COMMENT ON COLUMN preptime.orders.order_date IS 'Local day of the acknowledgement at the restaurant, and the partition';
COMMENT ON COLUMN preptime.orders.acknowledged_local IS 'Local time of the acknowledgement at the restaurant';
COMMENT ON COLUMN preptime.orders.order_acknowledged_at IS 'Acknowledgement time as delivered';
COMMENT ON COLUMN preptime.orders.extra IS 'Columns that aren''t in the data dictionary, as text';

-- The day of every order. A partitioned table can't enforce unique keys across partitions, and an order must stay one
-- row when its time is corrected to another day.
CREATE TABLE preptime.order_days (
    order_key text COLLATE "C" PRIMARY KEY,
    order_date date NOT NULL
);

CREATE VIEW preptime.outcomes AS
SELECT
    order_key,
    order_date,
    acknowledged_at,
    ready_at,
    coalesce(prep_time_seconds, floor(extract(epoch FROM ready_at - acknowledged_at))::bigint) AS prep_time_seconds
FROM preptime.orders
WHERE ready_at IS NOT NULL OR prep_time_seconds IS NOT NULL;
