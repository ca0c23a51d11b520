/** The mark of the house. */
export function Mark({ size = 24 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden focusable="false">
      <rect width="32" height="32" rx="7" fill="var(--t-accent)" />
      <path
        d="M8 22V10h16v12M13 22v-6h6v6"
        fill="none"
        stroke="var(--t-onAccent)"
        strokeWidth="2.5"
        strokeLinejoin="round"
        strokeLinecap="round"
      />
    </svg>
  );
}
