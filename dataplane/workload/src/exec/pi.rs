//! Digits of π: Machin's formula in fixed point. Nothing else of perl's arithmetic is here.

/// More digits than this nobody waits for.
const DIGITS_MAX: usize = 10_000;
const BASE: u64 = 1_000_000_000;

/// How many digits `print bpi(N)` asks for; None for any other program.
pub(super) fn asked(arguments: &[String]) -> Option<usize> {
    let program = arguments.last()?.trim().trim_end_matches(';').trim_end();
    let digits = program.strip_prefix("print")?.trim().strip_prefix("bpi(")?.strip_suffix(')')?;
    digits.trim().parse().ok().filter(|n| (2..=DIGITS_MAX).contains(n))
}

/// π rounded to this many digits.
pub(super) fn digits(count: usize) -> String {
    let limbs = count / 9 + 3;
    // π/4 = 4·arctan(1/5) − arctan(1/239)
    let mut sum = arctan_of_inverse(5, limbs);
    multiply(&mut sum, 4);
    subtract(&mut sum, &arctan_of_inverse(239, limbs));
    multiply(&mut sum, 4);
    let mut text: Vec<u8> = sum[0].to_string().into_bytes();
    sum[1..].iter().for_each(|limb| text.extend(format!("{limb:09}").into_bytes()));
    let up = text.get(count).is_some_and(|digit| *digit >= b'5');
    text.truncate(count);
    for digit in text.iter_mut().rev().take_while(|_| up) {
        if *digit < b'9' {
            *digit += 1;
            break;
        }
        *digit = b'0';
    }
    let text = String::from_utf8(text).unwrap_or_default();
    format!("{}.{}", &text[..1], &text[1..])
}

/// x − x³/3 + x⁵/5 − …, where x is 1/`of`.
fn arctan_of_inverse(of: u64, limbs: usize) -> Vec<u64> {
    let mut power = vec![0; limbs];
    power[0] = 1;
    divide(&mut power, of);
    let (mut sum, mut odd) = (power.clone(), 1);
    loop {
        divide(&mut power, of * of);
        odd += 2;
        let mut term = power.clone();
        divide(&mut term, odd);
        if term.iter().all(|limb| *limb == 0) {
            return sum;
        }
        if odd % 4 == 3 { subtract(&mut sum, &term) } else { add(&mut sum, &term) }
    }
}

fn divide(number: &mut [u64], by: u64) {
    let mut rest = 0;
    for limb in number {
        let value = rest * BASE + *limb;
        (*limb, rest) = (value / by, value % by);
    }
}

fn multiply(number: &mut [u64], by: u64) {
    let mut carry = 0;
    for limb in number.iter_mut().rev() {
        let value = *limb * by + carry;
        (*limb, carry) = (value % BASE, value / BASE);
    }
}

fn add(number: &mut [u64], other: &[u64]) {
    let mut carry = 0;
    for (limb, more) in number.iter_mut().zip(other).rev() {
        let value = *limb + more + carry;
        (*limb, carry) = (value % BASE, value / BASE);
    }
}

fn subtract(number: &mut [u64], other: &[u64]) {
    let mut borrow = 0;
    for (limb, less) in number.iter_mut().zip(other).rev() {
        let value = *limb + BASE - less - borrow;
        (*limb, borrow) = (value % BASE, 1 - value / BASE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pi_is_right() {
        assert_eq!(digits(2), "3.1");
        assert_eq!(digits(5), "3.1416");
        assert_eq!(digits(50), "3.1415926535897932384626433832795028841971693993751");
        // The six nines from the 762nd decimal on, and what follows them.
        assert_eq!(&digits(1000)[763..773], "9999998372");
        let ask = |program: &str| asked(&["-Mbignum=bpi".to_owned(), "-wle".to_owned(), program.to_owned()]);
        for (program, count) in [
            ("print bpi(2000)", Some(2000)),
            ("print bpi(10);", Some(10)),
            ("print 1", None),
            ("print bpi(99999)", None),
        ] {
            assert_eq!(ask(program), count, "{program}");
        }
    }
}
