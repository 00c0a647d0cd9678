//! Long lives that fail, made short: cut at the step that fails, then with ever smaller chunks left out.

/// The shortest that is found of those that fail. `failure`: at which step it does.
pub(crate) fn shortest<T: Clone>(steps: &[T], failure: impl Fn(&[T]) -> Option<usize>) -> Vec<T> {
    let cut = |steps: &[T]| {
        let failed = failure(steps)?;
        Some(steps.iter().take(failed + 1).cloned().collect::<Vec<_>>())
    };
    let mut best = cut(steps).unwrap_or_default();
    let mut chunk = best.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < best.len() {
            let end = best.len().min(start + chunk);
            match cut(&[&best[..start], &best[end..]].concat()) {
                Some(shorter) => best = shorter,
                None => start = end,
            }
        }
        chunk /= 2;
    }
    best
}

#[test]
fn what_fails_is_made_short() {
    let steps: Vec<_> = (0..10_000).collect();
    let failure = |steps: &[i32]| {
        let first = steps.iter().position(|step| *step == 777)?;
        steps[first..].iter().position(|step| *step == 8123).map(|last| first + last)
    };
    assert_eq!(shortest(&steps, failure), [777, 8123]);
}
