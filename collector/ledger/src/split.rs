//! Splitting an amount by weights: largest remainder, ties in the order of the accounts.

/// The parts of `amount` by `weights`, in their order; they sum to `amount` exactly.
///
/// Every part is first rounded down; the units left over go, one each, to the largest remainders,
/// and among equal remainders to the earlier. Weights that are all zero give everything to the
/// first.
///
/// # Panics
/// If the amount times a weight is beyond 128 bits: amounts of an interval are below 2^64.
#[must_use]
pub fn split(amount: u128, weights: &[u64]) -> Vec<u128> {
    let whole: u128 = weights.iter().fold(0, |sum: u128, w| sum.saturating_add(u128::from(*w)));
    if whole == 0 {
        let mut parts = vec![0; weights.len()];
        if let Some(first) = parts.first_mut() {
            *first = amount;
        }
        return parts;
    }
    let share = |weight: &u64| {
        // Amounts of an interval stay below 2^64 (posting refuses more), so the product fits.
        let product =
            amount.checked_mul(u128::from(*weight)).expect("an interval's energy times a weight");
        let quotient = product.checked_div(whole).expect("the whole is not zero");
        (quotient, product.checked_rem(whole).expect("the whole is not zero"))
    };
    let (mut parts, remainders): (Vec<u128>, Vec<u128>) = weights.iter().map(share).unzip();
    let given = parts.iter().fold(0, |sum: u128, part| sum.saturating_add(*part));
    let left = usize::try_from(amount.saturating_sub(given)).expect("less than one per part");
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(remainders.get(*index).copied()));
    for index in order.into_iter().take(left) {
        if let Some(part) = parts.get_mut(index) {
            *part = part.saturating_add(1);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_table() {
        for (amount, weights, parts) in [
            (10, vec![1, 1, 1], vec![4, 3, 3]),
            (11, vec![1, 1, 1], vec![4, 4, 3]),
            (100, vec![0, 3, 1], vec![0, 75, 25]),
            (7, vec![0, 0], vec![7, 0]),
            (1, vec![1, 2], vec![0, 1]),
            (0, vec![5, 5], vec![0, 0]),
        ] {
            assert_eq!(split(amount, &weights), parts);
        }
        assert_eq!(split(0, &[]), Vec::<u128>::new());
    }

    proptest! {
        #[test]
        fn the_parts_sum_to_the_whole_and_miss_their_share_by_less_than_one(
            amount in any::<u64>(),
            weights in proptest::collection::vec(0_u64..10_000_000, 1..20),
        ) {
            let amount = u128::from(amount);
            let parts = split(amount, &weights);
            prop_assert_eq!(parts.iter().sum::<u128>(), amount);
            let whole: u128 = weights.iter().map(|w| u128::from(*w)).sum();
            if whole > 0 {
                for (part, weight) in parts.iter().zip(&weights) {
                    let exact = amount.saturating_mul(u128::from(*weight));
                    prop_assert!(part.saturating_mul(whole).abs_diff(exact) < whole);
                }
            }
        }
    }
}
