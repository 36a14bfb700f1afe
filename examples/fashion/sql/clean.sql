-- One row an impression, with the time under the name that the model uses.
SELECT
    timestamp AS shown_at,
    item_id,
    position,
    click,
    propensity_score,
    user_feature_0,
    user_feature_1,
    user_feature_2,
    user_feature_3
FROM impressions
