// The mark and the name of the product.

import mark from './mark.svg';

export function Brand({ onClick }: { onClick?: () => void }) {
  const inner = (
    <>
      <img src={mark} width="28" height="28" alt="" />
      <span>kaigi</span>
    </>
  );
  if (!onClick) return <span class="brand">{inner}</span>;
  return (
    <a
      class="brand"
      href="/"
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        onClick();
      }}
    >
      {inner}
    </a>
  );
}
